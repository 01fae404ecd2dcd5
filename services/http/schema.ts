// JSON Schemas (draft 2020-12, as in OpenAPI 3.1) of requests and responses, and their types. The names are TypeBox's,
// of which this is the part that routes need: loading TypeBox takes a third of a node's start.

/** JSON Schema's keywords besides the type: `description`, `minimum`, `pattern` and so on. */
type Keywords = Readonly<Record<string, unknown>>

declare const VALUE: unique symbol
declare const OPTIONAL: unique symbol

/** A schema of values of type `T`: a plain object that can be printed unchanged. */
export interface TSchema<T = unknown> {
  readonly [keyword: string]: unknown
  /** Exists in the type only. */
  readonly [VALUE]?: T
}

/** An optional member. */
export type TOptional<S extends TSchema = TSchema> = S & { readonly [OPTIONAL]: true }

export type TProperties = Readonly<Record<string, TSchema>>

export interface TObject<P extends TProperties = TProperties> extends TSchema<ObjectOf<P>> {
  readonly type: 'object'
  readonly properties: P
}

/** The type of the values that a schema describes. */
export type Static<S> = S extends TSchema<infer T> ? T : never

type OptionalNames<P> = { [N in keyof P]: P[N] extends TOptional ? N : never }[keyof P]
type ObjectOf<P> = { [N in Exclude<keyof P, OptionalNames<P>>]: Static<P[N]> } & {
  [N in OptionalNames<P>]?: Static<P[N]>
}

const optional = new WeakSet<TSchema>()

export const Type = {
  Array: <S extends TSchema>(items: S, keywords?: Keywords): TSchema<Static<S>[]> => ({
    type: 'array',
    items,
    ...keywords,
  }),
  Boolean: (keywords?: Keywords): TSchema<boolean> => ({ type: 'boolean', ...keywords }),
  Integer: (keywords?: Keywords): TSchema<number> => ({ type: 'integer', ...keywords }),
  Literal: <const T extends string>(value: T): TSchema<T> => ({ type: 'string', const: value }),
  Null: (): TSchema<null> => ({ type: 'null' }),
  Number: (keywords?: Keywords): TSchema<number> => ({ type: 'number', ...keywords }),
  Object<P extends TProperties>(properties: P, keywords?: Keywords): TObject<P> {
    const required = Object.keys(properties).filter(name => !optional.has(properties[name] as TSchema))
    return { type: 'object', ...(required.length > 0 && { required }), properties, ...keywords }
  },
  /** Does not change the schema. */
  Optional<S extends TSchema>(schema: S): TOptional<S> {
    const marked = { ...schema } as TOptional<S>
    optional.add(marked)
    return marked
  },
  String: (keywords?: Keywords): TSchema<string> => ({ type: 'string', ...keywords }),
  Union: <S extends readonly TSchema[]>(anyOf: readonly [...S], keywords?: Keywords) =>
    ({ anyOf, ...keywords }) as TSchema<Static<S[number]>>,
  Unknown: (keywords?: Keywords): TSchema => ({ ...keywords }),
  /** A literal schema, for values whose type TypeScript can't derive from it. */
  Unsafe: <T>(keywords: Keywords): TSchema<T> => ({ ...keywords }),
}
