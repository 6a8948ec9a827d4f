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
