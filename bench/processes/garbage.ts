// Makes Node processes collect their garbage on request, so that garbage does not count as memory.

/** The signal that triggers a collection. No server uses it otherwise. */
export const COLLECT = 'SIGWINCH'

/** A module to import first. It sets V8's flag at run time, because NODE_OPTIONS does not allow --expose-gc. */
const LISTENER = `import v8 from 'node:v8'; import vm from 'node:vm'; v8.setFlagsFromString('--expose-gc');
const gc = vm.runInNewContext('gc'); process.on('${COLLECT}', () => { gc(); gc() })`

/** Flags of `node`, also for NODE_OPTIONS, that make a process react to the signal. */
export const COLLECTABLE = ['--import', `data:text/javascript,${encodeURIComponent(LISTENER)}`]
