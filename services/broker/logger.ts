// What the broker needs of a logger: it knows no logging library.

/** pino's loggers are such. */
export interface Logger {
  debug(about: object, message: string): void
  info(about: object, message: string): void
  warn(about: object, message: string): void
}
