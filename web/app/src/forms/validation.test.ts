import { expect, it } from 'vitest';
import { clusterNameProblem, requiredText, versionProblem } from './validation';

it.each([
  ['', 'Enter a name.'],
  ['a', undefined],
  ['patient-records-2', undefined],
  ['a'.repeat(40), undefined],
  ['a'.repeat(41), 'Use at most 40 characters.'],
  ['Records', 'Use lower-case letters, digits and hyphens only.'],
  ['two words', 'Use lower-case letters, digits and hyphens only.'],
  ['-a', 'Begin and end with a letter or a digit.'],
  ['a-', 'Begin and end with a letter or a digit.'],
  ['ä', 'Use lower-case letters, digits and hyphens only.'],
])('cluster name %j: %j', (name, message) => {
  expect(clusterNameProblem(name)).toBe(message);
});

it.each([
  ['', 'Enter your name.'],
  ['   ', 'Enter your name.'],
  ['Ada', undefined],
  ['ä'.repeat(100), undefined],
  ['ä'.repeat(101), 'Use at most 100 characters.'],
])('text %j: %j', (text, message) => {
  expect(requiredText(text, 'your name')).toBe(message);
});

it.each([
  ['', 'Enter a version.'],
  ['0.2.0', undefined],
  ['v1+build-3', undefined],
  ['a'.repeat(64), undefined],
  ['a'.repeat(65), 'Use at most 64 characters.'],
  ['.2', 'Use letters, digits and . _ + - only, with no full stop first.'],
  ['0.2 beta', 'Use letters, digits and . _ + - only, with no full stop first.'],
])('version %j: %j', (version, message) => {
  expect(versionProblem(version)).toBe(message);
});
