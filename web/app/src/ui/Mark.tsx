/** The mark: layers laid down over time, resting on the old, straight one. */
export function Mark({ size = 28 }: { size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 32 32"
      fill="none"
      strokeWidth="2.4"
      strokeLinecap="round"
      aria-hidden="true"
      focusable="false"
    >
      <rect width="32" height="32" rx="7" fill="#0c4a45" />
      <path d="M7 11.5c3.2-2 5.8-2 9 0s5.8 2 9 0" stroke="#8fd6c9" />
      <path d="M7 16.5c3.2-2 5.8-2 9 0s5.8 2 9 0" stroke="#d6f0eb" />
      <path d="M7 21.5h18" stroke="#fff" />
    </svg>
  );
}
