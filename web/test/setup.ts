import { cleanup, configure } from '@testing-library/react';
import { afterEach } from 'vitest';

// Deadlines for a busy machine, and errors that name what was missed instead of printing the whole page.
configure({
  asyncUtilTimeout: 8_000,
  getElementError: (message) => new Error(message?.split('\n')[0] ?? 'element not found'),
});

// jsdom has no modal dialogs; what the console relies on is that an open dialog is shown and a closed one is not.
HTMLDialogElement.prototype.showModal = function showModal() {
  this.open = true;
};
HTMLDialogElement.prototype.close = function close() {
  this.open = false;
};
window.scrollTo = () => undefined;

afterEach(cleanup);
