// `fanwire completion`: completion scripts for shells.

import { type Command, Misused, print } from './command.ts'

/** The help of each command, from which its flags are taken. */
export type Helps = ReadonlyMap<string, string>

const flagsOf = (help: string) => [
  ...new Set([...help.matchAll(/(?<=^|[\s[|])--[a-z][a-z-]*/gm)].map(([flag]) => flag)),
]

export const completion = (helps: () => Promise<Helps>): Command => ({
  help: `fanwire completion bash|zsh|fish: prints a script that completes commands and flags

Example: fanwire completion bash > ~/.local/share/bash-completion/completions/fanwire`,

  async run([shell]) {
    const known = [...(await helps())].map(([name, help]) => [name, flagsOf(help)] as const)
    const names = known.map(([name]) => name).join(' ')
    if (shell === 'fish') {
      print(`complete -c fanwire -n __fish_use_subcommand -f -a '${names}'`)
      for (const [name, flags] of known)
        for (const flag of flags)
          print(`complete -c fanwire -n '__fish_seen_subcommand_from ${name}' -l ${flag.slice(2)}`)
      return 0
    }
    if (shell !== 'bash' && shell !== 'zsh') throw new Misused('name a shell: bash, zsh or fish')
    if (shell === 'zsh') print('autoload -Uz bashcompinit && bashcompinit')
    print(
      '_fanwire() {',
      // The word as the shell passes it.
      '  local word="${COMP_WORDS[COMP_CWORD]}" words', // oxlint-disable-line no-template-curly-in-string
      `  if [ "$COMP_CWORD" -eq 1 ]; then words='${names}'`,
      '  else case "${COMP_WORDS[1]}" in', // oxlint-disable-line no-template-curly-in-string
      ...known.map(([name, flags]) => `    ${name}) words='${flags.join(' ')}' ;;`),
      '  esac; fi',
      '  COMPREPLY=($(compgen -W "$words" -- "$word"))',
      '}',
      'complete -o default -F _fanwire fanwire',
    )
    return 0
  },
})
