import js from '@eslint/js';
import a11y from 'eslint-plugin-jsx-a11y';
import hooks from 'eslint-plugin-react-hooks';
import globals from 'globals';
import tseslint from 'typescript-eslint';

export default tseslint.config({ ignores: ['node_modules', 'dist'] }, js.configs.recommended, {
  files: ['**/*.{ts,tsx}'],
  extends: [
    ...tseslint.configs.strictTypeChecked,
    ...tseslint.configs.stylisticTypeChecked,
    hooks.configs.flat.recommended,
    a11y.flatConfigs.strict,
  ],
  languageOptions: {
    globals: globals.browser,
    parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
  },
  rules: {
    // A number in a template is what one expects it to be.
    '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
    // `() => setOpen(true)` is how handlers are written.
    '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
    // React event props accept async handlers; every one of ours catches its errors.
    '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: { attributes: false } }],
  },
});
