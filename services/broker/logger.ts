// The broker's logger interface, independent of a logging library.

/** Implemented by pino. */
export interface Logger {
  debug(about: object, message: string): void
  info(about: object, message: string): void
  warn(about: object, message: string): void
}
