// What a library of browsers finds in Node when its user wants it there.

globalThis.window ??= globalThis
globalThis.document ??= new EventTarget()
