/** The limits that the API states; it decides, these messages only come sooner. */

export const NAME_CHARACTERS_MAX = 100;
export const CLUSTER_NAME_CHARACTERS_MAX = 40;

export function requiredText(value: string, what: string): string | undefined {
  const length = Array.from(value.trim()).length;
  if (length === 0) return `Enter ${what}.`;
  return length > NAME_CHARACTERS_MAX ? `Use at most ${NAME_CHARACTERS_MAX} characters.` : undefined;
}

export function clusterNameProblem(name: string): string | undefined {
  if (name === '') return 'Enter a name.';
  if (name.length > CLUSTER_NAME_CHARACTERS_MAX) return `Use at most ${CLUSTER_NAME_CHARACTERS_MAX} characters.`;
  if (!/^[a-z0-9-]+$/.test(name)) return 'Use lower-case letters, digits and hyphens only.';
  return name.startsWith('-') || name.endsWith('-') ? 'Begin and end with a letter or a digit.' : undefined;
}

export const VERSION_CHARACTERS_MAX = 64;

export function versionProblem(version: string): string | undefined {
  if (version === '') return 'Enter a version.';
  if (version.length > VERSION_CHARACTERS_MAX) return `Use at most ${VERSION_CHARACTERS_MAX} characters.`;
  return /^[A-Za-z0-9_+-][A-Za-z0-9._+-]*$/.test(version)
    ? undefined
    : 'Use letters, digits and . _ + - only, with no full stop first.';
}
