const SECOND_MS = 1_000;
const UNITS: readonly (readonly [Intl.RelativeTimeFormatUnit, number])[] = [
  ['year', 365 * 86_400 * SECOND_MS],
  ['month', 30 * 86_400 * SECOND_MS],
  ['day', 86_400 * SECOND_MS],
  ['hour', 3_600 * SECOND_MS],
  ['minute', 60 * SECOND_MS],
];
const RELATIVE = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

/** ISO 8601 in UTC, to the second: `2026-11-21T10:37:05Z`. */
export function isoSeconds(time: string): string {
  return `${new Date(time).toISOString().slice(0, 19)}Z`;
}

/** How far `time` is from `now`: "3 minutes ago", "in 2 hours", "just now". */
export function relativeTime(time: string, now: number): string {
  const difference = new Date(time).getTime() - now;
  for (const [unit, unitMs] of UNITS) {
    if (Math.abs(difference) >= unitMs) return RELATIVE.format(Math.trunc(difference / unitMs), unit);
  }
  return difference > 15 * SECOND_MS ? 'in a moment' : 'just now';
}
