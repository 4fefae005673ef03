import { expect, test } from 'vitest';
import { actionOf, SHORTCUTS } from './shortcuts';

const plain = { ctrlKey: false, metaKey: false, altKey: false, repeat: false, isTyping: false };

test.each([
  [{ ...plain, key: 'm' }, 'mic'],
  [{ ...plain, key: 'M' }, 'mic'],
  [{ ...plain, key: '?' }, 'help'],
  [{ ...plain, key: 'Escape' }, 'close'],
  [{ ...plain, key: 'Escape', isTyping: true }, 'close'],
  [{ ...plain, key: 'm', isTyping: true }, null],
  [{ ...plain, key: 'c', ctrlKey: true }, null],
  [{ ...plain, key: 'v', metaKey: true }, null],
  [{ ...plain, key: 'm', repeat: true }, null],
  [{ ...plain, key: 'Enter' }, null],
])('actionOf(%o) is %s', (press, action) => {
  expect(actionOf(press)).toBe(action);
});

test('no key means two things', () => {
  expect(new Set(SHORTCUTS.map(({ key }) => key)).size).toBe(SHORTCUTS.length);
});
