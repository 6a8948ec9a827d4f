import type { Problem } from '../app/src/api/types';

/** A typed refusal; the router turns it into `application/problem+json`. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly errors: Problem['errors'] = [],
  ) {
    super(detail);
  }
}

export const notFound = () => new Refusal(404, 'not_found', 'There is no such resource, or you may not see it.');

export const invalid = (pointer: string, code: string, detail: string) =>
  new Refusal(422, 'validation_failed', 'The request has fields that are not valid.', [{ pointer, code, detail }]);

const TITLES: Record<number, string> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  409: 'Conflict',
  413: 'Content Too Large',
  422: 'Unprocessable Content',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
};

export function problemResponse(refusal: Refusal, requestId: string): Response {
  const body: Problem = {
    type: `urn:craton:problem:${refusal.code}`,
    title: TITLES[refusal.status] ?? 'Error',
    status: refusal.status,
    detail: refusal.detail,
    code: refusal.code,
    request_id: requestId,
    retryable: refusal.status >= 500,
    errors: refusal.errors,
  };
  return Response.json(body, {
    status: refusal.status,
    headers: { 'content-type': 'application/problem+json', 'x-request-id': requestId },
  });
}
