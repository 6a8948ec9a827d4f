import { ApiError, NO_ANSWER } from './problem';

/**
 * Keys for the `Idempotency-Key` header. A repeated submission of the same body keeps its key as long as it is unknown
 * whether an earlier attempt arrived; a definite answer or another body starts a new key.
 */
export class IdempotencyKeys {
  private pending: { body: string; key: string } | null = null;

  async run<Result>(body: unknown, send: (key: string) => Promise<Result>): Promise<Result> {
    const text = JSON.stringify(body);
    const attempt = this.pending?.body === text ? this.pending : { body: text, key: newKey() };
    this.pending = attempt;
    try {
      const result = await send(attempt.key);
      this.pending = null;
      return result;
    } catch (error) {
      const arrivedForSure = error instanceof ApiError && error.code !== NO_ANSWER && error.status < 500;
      if (arrivedForSure) this.pending = null;
      throw error;
    }
  }
}

function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
