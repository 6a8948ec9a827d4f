import { describe, expect, it, vi } from 'vitest';
import { answerOf, api } from './client';
import { ApiError, errorFromResponse, toApiError } from './problem';

const answer = (status: number, headers: Record<string, string> = {}) => new Response(null, { status, headers });
const document = {
  type: 'urn:craton:problem:validation_failed',
  title: 'Not acceptable',
  status: 422,
  detail: 'The request has fields that are not valid.',
  code: 'validation_failed',
  request_id: 'req_1',
  retryable: false,
  errors: [
    { pointer: '/name', code: 'pattern', detail: 'Use lower-case letters.' },
    { pointer: '#/limits/rows', code: 'range', detail: 'Too many.' },
    { pointer: 'limit', code: 'range', detail: 'limit is 1 to 100' },
  ],
};

describe('a failed answer', () => {
  it('keeps what a problem document says', () => {
    const error = errorFromResponse(answer(422), document);
    expect(error).toMatchObject({
      status: 422,
      code: 'validation_failed',
      title: 'Not acceptable',
      requestId: 'req_1',
      retryable: false,
    });
    expect(error.detail).toBe(document.detail);
  });

  it('names fields by their path in the body, however the pointer is written', () => {
    expect(errorFromResponse(answer(422), document).fieldErrors).toEqual({
      name: 'Use lower-case letters.',
      'limits.rows': 'Too many.',
      limit: 'limit is 1 to 100',
    });
  });

  it.each([
    ['an HTML page', '<html>Bad gateway</html>', 502, true],
    ['nothing', undefined, 404, false],
    ['JSON that is no problem', { error: 'x' }, 400, false],
  ])('with %s instead still has a status and the request id', (_, body, status, retryable) => {
    const error = errorFromResponse(answer(status, { 'x-request-id': 'req_2' }), body);
    expect(error).toMatchObject({ status, code: 'unexpected_answer', requestId: 'req_2', retryable });
  });
});

describe('a call', () => {
  it('throws a retryable error when no answer comes', async () => {
    vi.stubGlobal('fetch', () => Promise.reject(new TypeError('Failed to fetch')));
    await expect(answerOf(api.GET('/api/v1/me'))).rejects.toMatchObject({
      code: 'no_answer',
      status: 0,
      retryable: true,
    });
  });

  it('throws the problem of a refusal', async () => {
    vi.stubGlobal('fetch', () =>
      Promise.resolve(
        Response.json(document, { status: 422, headers: { 'content-type': 'application/problem+json' } }),
      ),
    );
    const error: unknown = await answerOf(api.GET('/api/v1/me')).catch((cause: unknown) => cause);
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({ code: 'validation_failed', requestId: 'req_1' });
  });
});

it('makes any thrown value showable', () => {
  expect(toApiError(new Error('boom'))).toMatchObject({ code: 'console_failure', detail: 'boom' });
  expect(toApiError('text')).toMatchObject({ code: 'console_failure' });
});
