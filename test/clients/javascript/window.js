// Globals that a browser library needs in Node.

globalThis.window ??= globalThis
globalThis.document ??= new EventTarget()
