// Node processes that can be asked for a garbage collection, so that garbage does not count as memory.

/** Triggers a collection. A signal that no server uses otherwise. */
export const COLLECT = 'SIGWINCH'

/** Import it first. It sets V8's flag at run time, because NODE_OPTIONS does not allow --expose-gc. */
const LISTENER = `import v8 from 'node:v8'; import vm from 'node:vm'; v8.setFlagsFromString('--expose-gc');
const gc = vm.runInNewContext('gc'); process.on('${COLLECT}', () => { gc(); gc() })`

/** Flags of `node`, and words of NODE_OPTIONS, for a process that reacts to it. */
export const COLLECTABLE = ['--import', `data:text/javascript,${encodeURIComponent(LISTENER)}`]
