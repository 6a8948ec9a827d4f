import createClient from 'openapi-fetch';
import type { paths } from './generated/schema';
import { errorFromNetwork, errorFromResponse, nameOf } from './problem';

/** The API of this origin. The session travels in a cookie that scripts cannot read. */
export const api = createClient<paths>({
  baseUrl: window.location.origin,
  credentials: 'same-origin',
  // Looked up at each call, so that tests can replace it.
  fetch: (request) => globalThis.fetch(request),
});

type Answer<Data> = { data?: Data; error?: unknown; response: Response };

/** The body of a successful answer; everything else is thrown as `ApiError`. */
export async function answerOf<Data>(call: Promise<Answer<Data>>): Promise<Data> {
  let answer: Answer<Data>;
  try {
    answer = await call;
  } catch (cause) {
    if (nameOf(cause) === 'AbortError') throw cause;
    throw errorFromNetwork();
  }
  if (!answer.response.ok) throw errorFromResponse(answer.response, answer.error);
  return answer.data as Data;
}
