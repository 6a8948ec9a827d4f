const PATHS = {
  copy: 'M5.5 5.5v-3h8v8h-3m-8-5h8v8h-8z',
  check: 'm3 8.5 3.2 3.2L13 4.8',
  alert: 'M8 2.2 14.4 13.4H1.6zM8 6.4v3.2m0 1.9v.1',
  info: 'M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zm0-6.6v3.8M8 4.9V5',
  chevron: 'm4.5 6 3.5 4 3.5-4',
  cross: 'm4 4 8 8m0-8-8 8',
  key: 'M7.4 8.6a3.2 3.2 0 1 0-4.5 4.5 3.2 3.2 0 0 0 4.5-4.5zm0 0L13.5 2.5m-3.7 3.7 2 2M12 4l1.8 1.8',
  cluster:
    'M2.5 4.2C2.5 3 5 2 8 2s5.5 1 5.5 2.2S11 6.4 8 6.4 2.5 5.4 2.5 4.2zm0 0V8c0 1.2 2.5 2.2 5.5 2.2s5.5-1 5.5-2.2V4.2m-11 3.8v3.8C2.5 13 5 14 8 14s5.5-1 5.5-2.2V8',
  log: 'M3 3h10M3 6.3h10M3 9.7h10M3 13h6',
  person: 'M8 8a2.8 2.8 0 1 0 0-5.6A2.8 2.8 0 0 0 8 8zm-5.5 6c.4-2.7 2.6-4 5.5-4s5.1 1.3 5.5 4',
  download: 'M8 2.5v7.5m-3-3 3 3 3-3M2.5 13.5h11',
  plus: 'M8 3v10M3 8h10',
} as const;

export type IconName = keyof typeof PATHS;

/** A 16-pixel line icon; always decoration, so the text beside it carries the meaning. */
export function Icon({ name }: { name: IconName }) {
  return (
    <svg
      width="16"
      height="16"
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.5"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
      focusable="false"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}
