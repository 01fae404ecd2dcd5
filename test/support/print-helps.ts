// Prints the help of programs, in one process: print-helps.ts PATH… A form feed precedes each help.

for (const path of process.argv.slice(2)) {
  process.stdout.write('\f')
  process.argv = [process.execPath, path, '--help']
  await import(path)
}
