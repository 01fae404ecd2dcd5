// Arguments of Node that let a child process run TypeScript, as the tests themselves run.

export const TYPESCRIPT = ['--import', new URL('../strip-types.js', import.meta.url).href]
