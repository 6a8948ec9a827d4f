import { expect, it } from 'vitest';
import { IdempotencyKeys } from './idempotency';
import { ApiError, errorFromNetwork } from './problem';

const refusal = (status: number) => new ApiError(status, 'some_code', 'Title', 'Detail', null, false, {});

/** Sends `attempts` in turn and returns the key that each used. */
async function keysOf(attempts: { body: unknown; fails?: Error }[]): Promise<string[]> {
  const keys = new IdempotencyKeys();
  const used: string[] = [];
  for (const { body, fails } of attempts) {
    await keys
      .run(body, (key) => {
        used.push(key);
        return fails ? Promise.reject(fails) : Promise.resolve();
      })
      .catch(() => undefined);
  }
  return used;
}

it.each([
  ['no answer, same body: the same key', { body: 1, fails: errorFromNetwork() }, { body: 1 }, true],
  ['server error, same body: the same key', { body: 1, fails: refusal(503) }, { body: 1 }, true],
  ['no answer, another body: a new key', { body: 1, fails: errorFromNetwork() }, { body: 2 }, false],
  ['refused, same body: a new key', { body: 1, fails: refusal(409) }, { body: 1 }, false],
  ['succeeded, same body: a new key', { body: 1 }, { body: 1 }, false],
])('%s', async (_, first, second, same) => {
  const [a, b] = await keysOf([first, second]);
  expect(a).toMatch(/^[0-9a-f]{32}$/);
  expect(a === b).toBe(same);
});
