// Node processes that can be asked for a garbage collection, so that leftovers don't count as memory.

/** Asks for one. A signal that no server uses for anything else. */
export const COLLECT = 'SIGWINCH'

/** To be imported first. It takes V8's flag at run time, as NODE_OPTIONS does not allow --expose-gc. */
const LISTENER = `import v8 from 'node:v8'; import vm from 'node:vm'; v8.setFlagsFromString('--expose-gc');
const gc = vm.runInNewContext('gc'); process.on('${COLLECT}', () => { gc(); gc() })`

/** Flags of `node`, and words of NODE_OPTIONS, for a process that listens to it. */
export const COLLECTABLE = ['--import', `data:text/javascript,${encodeURIComponent(LISTENER)}`]
