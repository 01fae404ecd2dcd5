// The TLS certificate of PORT. It is read from two files, and again whenever they change.

import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { createSecureContext } from 'node:tls'
import type { FastifyBaseLogger } from 'fastify'

/** How often the files are checked, ms. Polling also notices changed symbolic links, and works on all file systems. */
const LOOK_MS = 2000

/** The certificate or its key can't be used. The message is for the user, names the setting, and contains no secrets. */
export class CertificateRefused extends Error {
  override readonly name = 'CertificateRefused'
}

export interface CertificateFiles {
  /** Paths of PEM files. */
  readonly cert: string
  readonly key: string
}

/** The PEM input of TLS. */
export interface Pair {
  readonly cert: Buffer
  readonly key: Buffer
}

export class Certificate {
  /** The newest usable pair. */
  pair: Pair
  readonly #files: CertificateFiles
  readonly #logger: FastifyBaseLogger
  /** State of the files: when they were last read, and when they were last checked. */
  #read: string
  #seen: string
  #next: NodeJS.Timeout | undefined
  #closed = false

  private constructor(files: CertificateFiles, logger: FastifyBaseLogger, state: string, pair: Pair) {
    this.#files = files
    this.#logger = logger
    this.#read = this.#seen = state
    this.pair = pair
  }

  /** Raises CertificateRefused. */
  static async read(files: CertificateFiles, logger: FastifyBaseLogger): Promise<Certificate> {
    const state = await stateOf(files)
    const { pair, x509 } = await load(files)
    warnIfExpired(x509, logger)
    return new Certificate(files, logger, state, pair)
  }

  /** Calls `use` with each new pair. Logs a pair that can't be used, and keeps the old one. */
  watch(use: (pair: Pair) => void, every = LOOK_MS): void {
    const look = async () => {
      await this.#look(use)
      if (!this.#closed) this.#next = setTimeout(look, every).unref()
    }
    this.#next = setTimeout(look, every).unref()
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#next)
  }

  async #look(use: (pair: Pair) => void): Promise<void> {
    const state = await stateOf(this.#files)
    const still = state === this.#seen
    this.#seen = state
    // The two files are not replaced at the same time: waits until neither has changed for a while.
    if (!still || state === this.#read || this.#closed) return
    this.#read = state
    try {
      const { pair, x509 } = await load(this.#files)
      use(pair)
      this.pair = pair
      const { subject, validTo, serialNumber } = x509
      this.#logger.info({ subject, validTo, serialNumber }, 'the certificate was reloaded')
      warnIfExpired(x509, this.#logger)
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      this.#logger.error({ reason }, 'the new certificate cannot be used: the old one stays')
    }
  }
}

/** Changes when either file, or the target of a link in its path, changes. */
async function stateOf({ cert, key }: CertificateFiles): Promise<string> {
  const states = [cert, key].map(async path => {
    try {
      const { dev, ino, size, mtimeMs, ctimeMs } = await stat(path)
      return [dev, ino, size, mtimeMs, ctimeMs].join(' ')
    } catch (error) {
      return String((error as NodeJS.ErrnoException).code)
    }
  })
  return (await Promise.all(states)).join(', ')
}

/** Raises CertificateRefused. */
async function load(files: CertificateFiles): Promise<{ pair: Pair; x509: X509Certificate }> {
  const cert = await readSetting('FANWIRE_TLS_CERT', files.cert)
  const key = await readSetting('FANWIRE_TLS_KEY', files.key)
  const x509 = attempt(`FANWIRE_TLS_CERT: ${files.cert} is not a PEM certificate`, () => {
    return new X509Certificate(cert)
  })
  const secret: KeyObject = attempt(
    `FANWIRE_TLS_KEY: ${files.key} is not a PEM private key, or needs a passphrase`,
    () => createPrivateKey(key),
  )
  if (!x509.checkPrivateKey(secret)) {
    throw new CertificateRefused(`FANWIRE_TLS_KEY: ${files.key} is not the key of ${files.cert}`)
  }
  const pair = { cert, key }
  attempt(`FANWIRE_TLS_CERT: TLS cannot use ${files.cert} with ${files.key}`, () => {
    return createSecureContext(pair)
  })
  return { pair, x509 }
}

async function readSetting(setting: string, path: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const why = code === 'ENOENT' ? 'there is no such file' : code === 'EACCES' ? 'permission denied' : code
    throw new CertificateRefused(`${setting}: ${path} cannot be read: ${why}`)
  }
}

function attempt<T>(message: string, run: () => T): T {
  try {
    return run()
  } catch (error) {
    throw new CertificateRefused(`${message} (${error instanceof Error ? error.message : String(error)})`)
  }
}

function warnIfExpired({ subject, validTo }: X509Certificate, logger: FastifyBaseLogger): void {
  if (Date.parse(validTo) < Date.now()) logger.warn({ subject, validTo }, 'the certificate has expired')
}
