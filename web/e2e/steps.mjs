// What a person does in the console, by the words they see. Shared by the scripts of this folder.

export async function signUp(page, baseUrl, { name, email }) {
  await page.goto(`${baseUrl}/signup`);
  await page.getByLabel('Name').fill(name);
  await page.getByLabel('Work email').fill(email);
  await page.getByRole('button', { name: 'Create account with a passkey' }).click();
  await page.getByRole('heading', { name: 'Create your organisation' }).waitFor();
}

/** Returns the organisation's id. */
export async function createOrganisation(page, name) {
  await page.getByLabel('Organisation name').fill(name);
  await page.getByRole('button', { name: 'Create organisation' }).click();
  await page.waitForURL(/\/orgs\/org_[^/]+\/clusters$/);
  await page.getByRole('heading', { name: 'No clusters yet' }).waitFor();
  return new URL(page.url()).pathname.split('/')[2];
}

/** Opens the dialog, creates the key and returns its secret, which stays on screen. */
export async function createApiKey(page, { name, role }) {
  await page.getByRole('link', { name: 'API keys' }).click();
  await page.getByRole('button', { name: 'Create API key' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name').fill(name);
  await dialog.getByLabel('Role').selectOption(role);
  await dialog.getByRole('button', { name: 'Create API key' }).click();
  const secret = dialog.getByLabel(`api key ${name}`, { exact: true });
  return (await secret.textContent()) ?? '';
}

export async function confirmStored(page) {
  await page.getByRole('button', { name: 'I have stored it' }).click();
}
