/**
 * One error type for everything that a call to the API can end in: a problem document (RFC 9457), an answer that is
 * not one, or no answer at all.
 */
import type { Problem } from './types';

export class ApiError extends Error {
  override readonly name = 'ApiError';

  constructor(
    /** HTTP status; 0 when no answer came. */
    readonly status: number,
    /** Stable machine-readable code, for support and for tests. */
    readonly code: string,
    readonly title: string,
    readonly detail: string,
    readonly requestId: string | null,
    readonly retryable: boolean,
    /** Message per field, by the field's name in the request body. */
    readonly fieldErrors: Readonly<Record<string, string>>,
  ) {
    super(`${code}: ${detail}`);
  }
}

/** Codes of our own, for failures that carry no problem document. */
export const NO_ANSWER = 'no_answer';
export const UNEXPECTED_ANSWER = 'unexpected_answer';

export function errorFromNetwork(): ApiError {
  return new ApiError(
    0,
    NO_ANSWER,
    'No answer',
    'The control plane could not be reached. Check your connection and try again.',
    null,
    true,
    {},
  );
}

/** Reads a failed response whose body was already parsed as `body`, if it could be. */
export function errorFromResponse(response: Response, body: unknown): ApiError {
  const requestId = response.headers.get('x-request-id');
  if (!isProblem(body)) {
    const detail = `The control plane answered with status ${response.status} and no explanation.`;
    return new ApiError(
      response.status,
      UNEXPECTED_ANSWER,
      'Unexpected answer',
      detail,
      requestId,
      response.status >= 500,
      {},
    );
  }
  const fieldErrors = Object.fromEntries(body.errors.map(({ pointer, detail }) => [fieldOf(pointer), detail]));
  return new ApiError(
    response.status,
    body.code,
    body.title,
    body.detail,
    body.request_id || requestId,
    body.retryable,
    fieldErrors,
  );
}

/** Any thrown value as an `ApiError`, so that pages have one thing to show. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  const detail = error instanceof Error ? error.message : 'The reason is unknown.';
  return new ApiError(0, 'console_failure', 'Something went wrong in the console', detail, null, false, {});
}

/** Whether there is no session (any more). A sign-in that failed is 401 too, but not this. */
export function isSignedOut(error: unknown): boolean {
  return error instanceof ApiError && (error.code === 'unauthenticated' || error.code === 'session_expired');
}

/** The name of a thrown value. A `DOMException` has one too, whether or not it counts as an `Error`. */
export function nameOf(error: unknown): string {
  return typeof error === 'object' && error !== null && 'name' in error ? String(error.name) : '';
}

function isProblem(body: unknown): body is Problem {
  return typeof body === 'object' && body !== null && 'code' in body && typeof body.code === 'string';
}

/** `/name`, `#/name` and `name` are the same field; nested pointers keep their dots. */
function fieldOf(pointer: string): string {
  return pointer.replace(/^#?\//, '').replaceAll('/', '.');
}
