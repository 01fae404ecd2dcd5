// Runs clients in a page and passes every message to `hear`.

globalThis.startClient = async (name, targets, client) => {
  const { follow } = await import(`./${name}.js`)
  for (const [index, target] of targets.entries()) {
    follow(target, (type, data) => globalThis.hear(client, index, { type, data }))
  }
}
