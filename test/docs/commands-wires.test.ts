// The example clients on the wires' pages work, in every language.

import { documents } from './blocks.ts'
import { runDocuments } from './commands.ts'

runDocuments(documents().filter(file => file.startsWith('docs/wires/')))
