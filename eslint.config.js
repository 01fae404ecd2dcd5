// What the compiler does not check. Prettier does the formatting.
import neostandard from 'neostandard'

/** Matters of taste, or rules that misjudge values changed elsewhere. */
const TASTE = {
  'no-void': 'off',
  curly: 'off',
  'no-new': 'off',
  'promise/param-names': 'off',
  'no-unmodified-loop-condition': 'off',
}

export default [
  ...neostandard({
    ts: true,
    noStyle: true,
    ignores: ['**/dist/', 'node_modules/', '.cache/', '.tap/', 'docs/.vitepress/cache/'],
  }),
  {
    files: ['**/*.{ts,tsx}'],
    rules: {
      ...TASTE,
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/ban-ts-comment': 'error',
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
    },
  },
  { files: ['examples/**/*.js'], rules: TASTE },
  {
    files: ['services/**/*.ts'],
    rules: {
      'no-restricted-properties': [
        'error',
        { object: 'process', property: 'exit', message: 'Only main.ts may exit the process.' },
      ],
    },
  },
  { files: ['services/main.ts'], rules: { 'no-restricted-properties': 'off' } },
]
