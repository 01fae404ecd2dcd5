// The part of React that the client uses, so that React's types are not required.

declare module 'react' {
  export interface Context<T> {
    readonly Provider: unknown
    readonly _value?: T
  }
  export function createContext<T>(value: T): Context<T>
  export function createElement(type: unknown, properties: object | null, ...children: unknown[]): unknown
  export function useContext<T>(context: Context<T>): T
  export function useEffect(run: () => (() => void) | undefined, on: readonly unknown[]): void
  export function useMemo<T>(make: () => T, on: readonly unknown[]): T
  export function useRef<T>(value: T): { current: T }
  export function useState<T>(value: T | (() => T)): [T, (next: T | ((before: T) => T)) => void]
  export function useSyncExternalStore<T>(
    subscribe: (changed: () => void) => () => void,
    read: () => T,
    readOnServer?: () => T,
  ): T
}
