// Fails when the committed API client is not what `npm run generate` makes of docs/openapi.json.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const committed = 'app/src/api/generated/schema.ts';
const folder = mkdtempSync(join(tmpdir(), 'craton-console-'));
try {
  const fresh = join(folder, 'schema.ts');
  const arguments_ = ['../docs/openapi.json', '--output', fresh, '--alphabetize', '--empty-objects-unknown'];
  execFileSync('node_modules/.bin/openapi-typescript', arguments_, { stdio: ['ignore', 'ignore', 'inherit'] });
  if (readFileSync(fresh, 'utf8') !== readFileSync(committed, 'utf8')) {
    console.error(
      `${committed} does not match docs/openapi.json: run "npm run generate" in web/ and commit the result.`,
    );
    process.exitCode = 1;
  }
} finally {
  rmSync(folder, { recursive: true });
}
