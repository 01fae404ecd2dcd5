// The clients on the wires' pages, in each of their languages.

import { documents } from './blocks.ts'
import { runDocuments } from './commands.ts'

runDocuments(documents().filter(file => file.startsWith('docs/wires/')))
