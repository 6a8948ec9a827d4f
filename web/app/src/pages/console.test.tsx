/** The console as its people use it, over the mock API. */
import { render, screen, waitFor, within } from '@testing-library/react';
import { MemoryRouter } from 'react-router';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ApiError } from '@/api/problem';
import { ErrorBoundary } from '@/components/ErrorBoundary';
import { openConsole, openOrganisation, pageText, problem, seed } from '../../../test/console';
import { createMockApi } from '../../../mock-api/server';

const heading = (name: string | RegExp) => screen.findByRole('heading', { name });
const button = (name: string | RegExp) => screen.findByRole('button', { name });

afterEach(() => vi.unstubAllGlobals());

describe('signing in', () => {
  it('is asked of everyone without a session, and remembers where they wanted to go', async () => {
    const { location } = openConsole('/orgs/org_1/api-keys?x=1');
    await heading('Sign in');
    expect(location()).toBe(`/signin?next=${encodeURIComponent('/orgs/org_1/api-keys?x=1')}`);
  });

  it('says when a session has expired', async () => {
    const api = createMockApi();
    const { organisation } = seed(api, 'owner');
    openConsole(`/orgs/${organisation.id}/clusters`, api, 'a-cookie-of-yesterday');
    await screen.findByText('Your session has ended');
  });

  it('is asked again when the session ends while the console is open', async () => {
    const { api, user } = openOrganisation('/clusters');
    await heading('No clusters yet');
    api.state.sessions.length = 0;
    await user.click(screen.getByRole('link', { name: 'API keys' }));
    await heading('Sign in');
    await screen.findByText('Your session has ended');
  });

  it('says clearly when the browser has no passkeys, and keeps the button from being used', async () => {
    vi.stubGlobal('isSecureContext', true);
    vi.stubGlobal('PublicKeyCredential', undefined);
    const { user, requests } = openConsole('/signup');
    await screen.findByText('Passkeys are not available here');
    const create = await button('Create account with a passkey');
    expect(create).toHaveProperty('ariaDisabled', 'true');
    expect(document.getElementById(create.getAttribute('aria-describedby') ?? '')?.textContent).toMatch(
      /does not support passkeys/,
    );
    await user.type(screen.getByLabelText('Name'), 'Ada');
    await user.type(screen.getByLabelText('Work email'), 'ada@example.org');
    await user.click(create);
    expect(requests).toEqual([]);
  });

  it('names missing fields and puts the focus on the first', async () => {
    vi.stubGlobal('isSecureContext', true);
    vi.stubGlobal('PublicKeyCredential', () => undefined);
    const { user, requests } = openConsole('/signup');
    await user.type(await screen.findByLabelText('Work email'), 'not an address');
    await user.click(await button('Create account with a passkey'));
    const name = screen.getByLabelText('Name');
    expect(document.activeElement).toBe(name);
    expect(name.getAttribute('aria-invalid')).toBe('true');
    expect(screen.getByText('Enter an email address, such as ada@example.org.')).toBeTruthy();
    expect(requests).toEqual([]);
  });

  it('explains a dismissed passkey prompt and lets one try again', async () => {
    vi.stubGlobal('isSecureContext', true);
    vi.stubGlobal('PublicKeyCredential', () => undefined);
    const get = () => Promise.reject(new DOMException('', 'NotAllowedError'));
    Object.defineProperty(navigator, 'credentials', { configurable: true, value: { get } });
    const { user } = openConsole('/signin');
    await user.click(await button('Sign in with a passkey'));
    await screen.findByText(/dismissed or timed out/);
    expect((await button('Sign in with a passkey')).getAttribute('aria-busy')).toBeNull();
  });
});

describe('organisations', () => {
  it('a first one is asked for, and leads to its empty list of clusters', async () => {
    const api = createMockApi();
    const { organisation } = seed(api, 'owner');
    api.state.organisations.splice(api.state.organisations.indexOf(organisation), 1);
    const { user, location } = openConsole('/', api, 'session-of-ada');
    await heading('Create your organisation');
    await user.click(await button('Create organisation'));
    expect(screen.getByText('Enter a name.')).toBeTruthy();
    await user.type(screen.getByLabelText('Organisation name'), "St. Mary's Hospital");
    await user.click(await button('Create organisation'));
    await heading('No clusters yet');
    expect(location()).toMatch(/^\/orgs\/org_[0-9a-z]{26}\/clusters$/);
  });

  it('can be switched', async () => {
    const api = createMockApi();
    const { organisation } = seed(api, 'owner');
    const clinic = { ...organisation, id: api.state.id('org'), name: 'Hillside Clinic' };
    api.state.organisations.push(clinic);
    const { user, location } = openConsole(`/orgs/${organisation.id}/clusters`, api, 'session-of-ada');
    await user.click(await button('Organisation: Lakeside Hospital. Switch organisation'));
    await user.click(screen.getByRole('link', { name: /Hillside Clinic/ }));
    await screen.findByText('The databases of Hillside Clinic.');
    expect(location()).toBe(`/orgs/${clinic.id}/clusters`);
    expect(screen.queryByRole('link', { name: /New organisation/ })).toBeNull();
  });

  it('of others look like missing ones', async () => {
    const { requests } = openOrganisation('x/clusters');
    await heading('There is nothing here');
    expect(requests).toEqual(['GET /api/v1/me']);
  });
});

describe('a cluster', () => {
  it('is refused with a message at the field, before and after sending', async () => {
    const { user, requests, api } = openOrganisation('/clusters/new');
    const name = await screen.findByLabelText('Cluster name');
    await user.type(name, 'Patient Records');
    await user.click(await button('Create cluster'));
    expect(screen.getByText('Use lower-case letters, digits and hyphens only.')).toBeTruthy();
    expect(requests.filter((line) => line.startsWith('POST'))).toEqual([]);

    const cluster = { id: 'clu_1', name: 'taken', state: 'ready', users: [], nodes: [] };
    api.state.organisations[0]?.clusters.push(
      cluster as unknown as NonNullable<(typeof api.state.organisations)[0]>['clusters'][0],
    );
    await user.clear(name);
    await user.type(name, 'taken');
    await user.click(await button('Create cluster'));
    await screen.findByText('There is already a cluster with this name.');
    expect(document.activeElement).toBe(name);
  });

  it('shows its password once, goes through its steps and ends with ways to connect', async () => {
    const { user, queryClient, location } = openOrganisation('/clusters/new');
    await user.type(await screen.findByLabelText('Cluster name'), 'patient-records');
    await user.click(await button('Create cluster'));

    await heading('Database password');
    expect(location()).toMatch(/\/clusters\/clu_[0-9a-z]{26}\?operation=op_[0-9a-z]{26}$/);
    const password = screen.getByLabelText('password of app').textContent;
    expect(password.length).toBeGreaterThanOrEqual(16);
    await heading('Creating the cluster');
    const steps = await screen.findByRole('list', { name: 'Steps' });
    expect(within(steps).getAllByRole('listitem')).toHaveLength(6);

    await heading('Connect');
    await screen.findByText('The cluster is ready: login, write and read succeeded through its endpoint');
    expect(screen.getByLabelText('psql command').textContent).toMatch(/^psql .*sslmode=verify-full/);
    const key = screen.getByLabelText('verifier key of main').textContent;
    expect(screen.getByLabelText('verification command').textContent).toBe(`craton verify receipt.txt --key '${key}'`);

    expect(pageText()).toContain(password);
    await user.click(await button('I have stored it'));
    expect(pageText()).not.toContain(password);
    const cached = JSON.stringify(
      [queryClient.getQueryCache().getAll(), queryClient.getMutationCache().getAll()].map((entries) =>
        entries.map(({ state }) => state),
      ),
    );
    expect(cached).not.toContain(password);
    expect(location()).not.toContain(password);
  });

  it('keeps the password while one moves between pages, until it is confirmed', async () => {
    const { user } = openOrganisation('/clusters/new');
    await user.type(await screen.findByLabelText('Cluster name'), 'patient-records');
    await user.click(await button('Create cluster'));
    await heading('Database password');
    const password = screen.getByLabelText('password of app').textContent;

    const leaving = new Event('beforeunload', { cancelable: true });
    window.dispatchEvent(leaving);
    expect(leaving.defaultPrevented, 'leaving asks first').toBe(true);

    await user.click(screen.getByRole('link', { name: 'Clusters' }));
    expect(pageText()).not.toContain(password);
    await user.click(await screen.findByRole('link', { name: 'patient-records' }));
    expect((await screen.findByLabelText('password of app')).textContent).toBe(password);
    await user.click(await button('I have stored it'));
    await user.click(screen.getByRole('link', { name: 'Clusters' }));
    await user.click(await screen.findByRole('link', { name: 'patient-records' }));
    await heading('Placement');
    expect(pageText()).not.toContain(password);

    const leavingNow = new Event('beforeunload', { cancelable: true });
    window.dispatchEvent(leavingNow);
    expect(leavingNow.defaultPrevented).toBe(false);
  });

  it('gets more nodes, another one in the place of one, and another version', async () => {
    const { user, location } = openOrganisation('/clusters/new');
    await user.type(await screen.findByLabelText('Cluster name'), 'patient-records');
    await user.click(await button('Create cluster'));
    await heading('Connect');
    await user.click(await button('I have stored it'));
    const rows = async () =>
      within(await screen.findByRole('table', { name: 'Nodes of the cluster' }))
        .getAllByRole('rowheader')
        .map(({ textContent }) => textContent);
    expect(await rows()).toEqual(['1']);

    await user.click(await button('Change nodes…'));
    const dialog = within(await screen.findByRole('dialog'));
    await user.selectOptions(dialog.getByLabelText('Nodes'), '3');
    await user.click(dialog.getByRole('button', { name: 'Change nodes' }));
    await heading('Changing the number of nodes');
    expect(location()).toMatch(/\?operation=op_/);
    await screen.findByText('The cluster has the nodes that it shall have');
    await waitFor(async () => expect(await rows()).toEqual(['1', '2', '3']));

    const table = within(screen.getByRole('table', { name: 'Nodes of the cluster' }));
    const [, second] = table.getAllByRole('button', { name: 'Replace…' });
    expect(second).toBeDefined();
    if (second) await user.click(second);
    await user.click(await button('Replace node'));
    await screen.findByText('The new node has taken its place, and the old one has left');
    await waitFor(async () => expect(await rows()).toEqual(['1', '3', '4']));

    await user.click(await button('Change version…'));
    await user.type(await screen.findByLabelText('Version'), '0.3.0');
    await user.click(await button('Move to this version'));
    await screen.findByText(/^This version is not installed on/);
    await user.clear(screen.getByLabelText('Version'));
    await user.type(screen.getByLabelText('Version'), '0.2.0');
    await user.click(await button('Move to this version'));
    await heading('Moving to another version');
    await screen.findByText('Every node runs the version and lets clients in');
    await waitFor(() => expect(screen.getAllByRole('cell', { name: '0.2.0' })).toHaveLength(3));
  });

  it('that fails says why, and can be tried again', async () => {
    const { user } = openOrganisation('/clusters/new');
    await user.type(await screen.findByLabelText('Cluster name'), 'fail-here');
    await user.click(await button('Create cluster'));
    await screen.findByText('The operation failed');
    await screen.findByText('No node with free capacity answered in region local.');
    expect(screen.queryByRole('heading', { name: 'Connect' })).toBeNull();
    await user.click(await button('Try again'));
    await heading('Connect');
  });

  it('can be cancelled on its way, and tried again', async () => {
    const { user, api } = openOrganisation('/clusters/new', 'owner', 500);
    await user.type(await screen.findByLabelText('Cluster name'), 'patient-records');
    await user.click(await button('Create cluster'));
    await user.click(await button('Cancel'));
    await screen.findByText('The operation was cancelled');
    expect(api.state.organisations[0]?.operations[0]?.cancelledAt).not.toBeNull();
    await user.click(await button('Try again'));
    await heading('Connect');
  });

  it('gets a new password, shown once, after a question', async () => {
    const { user } = openOrganisation('/clusters/new');
    await user.type(await screen.findByLabelText('Cluster name'), 'patient-records');
    await user.click(await button('Create cluster'));
    await user.click(await button('I have stored it'));
    await user.click(await button('Rotate password…'));
    await user.click(await button('Rotate password'));
    const rotated = (await screen.findByLabelText('new password of app')).textContent;
    await user.click(await button('I have stored it'));
    expect(pageText()).not.toContain(rotated);
    await waitFor(() =>
      expect(within(screen.getByRole('table', { name: 'Database users' })).queryByText('never')).toBeNull(),
    );
  });

  it('is deleted only after its name was typed', async () => {
    const { user, requests } = openOrganisation('/clusters/new');
    await user.type(await screen.findByLabelText('Cluster name'), 'patient-records');
    await user.click(await button('Create cluster'));
    await user.click(await button('I have stored it'));
    await heading('Connect');
    await user.click(await button('Delete cluster…'));
    const confirm = await screen.findByLabelText('Type patient-records to confirm');
    await user.type(confirm, 'patient-record');
    await user.click(await button('Delete cluster'));
    await user.type(confirm, '{Enter}');
    expect(requests.filter((line) => line.startsWith('DELETE'))).toEqual([]);
    await user.type(confirm, 's');
    await user.click(await button('Delete cluster'));
    await heading('Deleting the cluster');
    await screen.findByText(/its id will not be used again/);
  });

  it('cannot be created by a viewer, and the button says why', async () => {
    const { user, requests } = openOrganisation('/clusters/new', 'viewer');
    await user.type(await screen.findByLabelText('Cluster name'), 'patient-records');
    const create = await button('Create cluster');
    expect(document.getElementById(create.getAttribute('aria-describedby') ?? '')?.textContent).toBe(
      'Your role here is viewer. Needed: owner, admin, member.',
    );
    await user.click(create);
    expect(requests.filter((line) => line.startsWith('POST'))).toEqual([]);
  });
});

describe('API keys', () => {
  it('are made, shown once and revoked', async () => {
    const { user, queryClient } = openOrganisation('/api-keys');
    await user.click(await button('Create API key'));
    const dialog = await screen.findByRole('dialog');
    await user.click(within(dialog).getByRole('button', { name: 'Create API key' }));
    expect(within(dialog).getByText('Enter a name.')).toBeTruthy();
    await user.type(within(dialog).getByLabelText('Name'), 'pipeline');
    await user.selectOptions(within(dialog).getByLabelText('Role'), 'viewer');
    await user.selectOptions(within(dialog).getByLabelText('Valid for'), 'never');
    await user.click(within(dialog).getByRole('button', { name: 'Create API key' }));

    const secret = (await screen.findByLabelText('api key pipeline')).textContent;
    expect(secret).toMatch(/^crt_live_/);
    await user.click(await button('I have stored it'));
    expect(pageText()).not.toContain(secret);
    expect(
      JSON.stringify(
        queryClient
          .getQueryCache()
          .getAll()
          .map(({ state }) => state),
      ),
    ).not.toContain(secret);

    const row = (await screen.findByRole('rowheader', { name: 'pipeline' })).closest('tr');
    expect(row?.textContent).toContain('viewer');
    await user.click(await button('Revoke…'));
    await user.click(await button('Revoke key'));
    await heading('No API keys yet');
  });

  it('are not made twice when the request is lost', async () => {
    const { user, answerOnce, organisation, requests } = openOrganisation('/api-keys');
    await user.click(await button('Create API key'));
    const dialog = await screen.findByRole('dialog');
    await user.type(within(dialog).getByLabelText('Name'), 'pipeline');
    answerOnce(/^POST .*api-keys/, () => Promise.reject(new TypeError('Failed to fetch')));
    await user.click(within(dialog).getByRole('button', { name: 'Create API key' }));
    await screen.findByText('No answer');
    await user.click(within(dialog).getByRole('button', { name: 'Create API key' }));
    await screen.findByLabelText('api key pipeline');
    expect(requests.filter((line) => line.startsWith('POST'))).toHaveLength(2);
    expect(organisation.apiKeys).toHaveLength(1);
  });

  it('are not made twice when the answer is lost, and it is said that the secret is gone', async () => {
    const { user, answerOnce, organisation } = openOrganisation('/api-keys');
    await user.click(await button('Create API key'));
    const dialog = await screen.findByRole('dialog');
    await user.type(within(dialog).getByLabelText('Name'), 'pipeline');
    answerOnce(/^POST .*api-keys/, async (forward) => {
      await forward();
      throw new TypeError('Failed to fetch');
    });
    await user.click(within(dialog).getByRole('button', { name: 'Create API key' }));
    await screen.findByText('No answer');
    await user.click(within(dialog).getByRole('button', { name: 'Create API key' }));
    await screen.findByText(/Revoke this key and create another/);
    expect(organisation.apiKeys).toHaveLength(1);
    await user.click(await button('Understood'));
    await screen.findByRole('rowheader', { name: 'pipeline' });
  });
});

describe('the audit log', () => {
  it('shows position, event, actor and record hash', async () => {
    const { user, organisation, ada, api } = openOrganisation('/audit');
    const receipt = api.state.record(
      organisation,
      ada,
      'cluster.created',
      { kind: 'cluster', id: 'clu_1' },
      { name: 'patient-records' },
    );
    const event = await screen.findByText('cluster.created');
    const row = event.closest('tr');
    expect(row?.textContent).toContain(String(receipt.position));
    expect(row?.textContent).toContain('Ada Okafor');
    expect(within(row as HTMLElement).getByTitle(receipt.record_hash)).toBeTruthy();
    const link = within(row as HTMLElement).getByRole('link', {
      name: `Download the receipt of position ${receipt.position}`,
    });
    expect(link.getAttribute('href')).toBe(`/api/v1/orgs/${organisation.id}/receipts/${receipt.position}`);
    const key = (await screen.findByLabelText('verifier key of platform')).textContent;
    expect(screen.getByLabelText('verification command').textContent).toBe(`craton verify receipt.txt --key '${key}'`);
    await user.click(event);
    expect(screen.getByLabelText('Data of cluster.created').textContent).toContain('patient-records');
  });

  it('loads page by page', async () => {
    const { user, organisation, ada, api } = openOrganisation('/audit');
    for (let index = 0; index < 60; index += 1)
      api.state.record(organisation, ada, `event.${index}`, { kind: 'cluster', id: 'clu_1' }, {});
    await screen.findByText('event.59');
    expect(screen.queryByText('event.0')).toBeNull();
    await user.click(await button('Show more events'));
    await screen.findByText('event.0');
    expect(screen.queryByRole('button', { name: 'Show more events' })).toBeNull();
  });

  it('is not asked for by those who may not read it', async () => {
    const { requests } = openOrganisation('/audit', 'member');
    await heading('Not visible to your role');
    expect(requests).toEqual(['GET /api/v1/me']);
  });
});

it('a new page gets the focus', async () => {
  const { user } = openOrganisation('/clusters');
  await heading('No clusters yet');
  await user.click(screen.getByRole('link', { name: 'API keys' }));
  await heading('No API keys yet');
  expect(document.activeElement).toBe(screen.getByRole('main'));
});

describe('settings', () => {
  it('revokes another session, never offering it for this one', async () => {
    const api = createMockApi();
    const { ada } = seed(api, 'owner');
    const mine = api.state.sessions[0];
    if (mine)
      api.state.sessions.push({
        ...mine,
        token: 'other',
        id: 'ses_other',
        user_agent: 'Mozilla/5.0 (Windows NT 10.0) Firefox/140.0',
        userId: ada.id,
      });
    const { user } = openConsole('/settings', api, 'session-of-ada');
    await screen.findByRole('rowheader', { name: 'Firefox on Windows' });
    await user.click(await button('Revoke…'));
    await user.click(await button('Revoke session'));
    await waitFor(() => expect(screen.queryByRole('rowheader', { name: 'Firefox on Windows' })).toBeNull());
    expect(api.state.sessions.map(({ id }) => id)).toEqual([mine?.id]);
    expect(screen.getByText('this browser')).toBeTruthy();
  });
});

describe('trouble', () => {
  it('while rendering is caught and shown, with code and request id', () => {
    vi.spyOn(console, 'error').mockImplementation(() => undefined);
    const Broken = () => {
      throw new ApiError(500, 'internal', 'Internal error', 'It is our fault.', 'req_test', true, {});
    };
    render(
      <MemoryRouter>
        <ErrorBoundary resetKey="/">
          <Broken />
        </ErrorBoundary>
      </MemoryRouter>,
    );
    screen.getByRole('heading', { name: 'This page could not be shown' });
    expect(pageText()).toContain('It is our fault.');
    screen.getByText('internal');
    screen.getByText('req_test');
    screen.getByRole('button', { name: 'Try again' });
  });

  it('is shown with code and request id, and can be tried again when that may help', async () => {
    const api = createMockApi();
    seed(api, 'owner');
    const world = openConsole('/settings', api, 'session-of-ada');
    world.answerOnce(/passkeys/, problem(409, 'conflict_of_the_test', 'Another change came first.'));
    await screen.findByText('conflict_of_the_test');
    expect(pageText()).toContain('req_test');
    expect(screen.queryByRole('button', { name: 'Try again' })).toBeNull();
  });

  it('signing out leaves nothing behind', async () => {
    const { user, queryClient, api } = openOrganisation('/clusters');
    await heading('No clusters yet');
    await user.click(await button('Sign out'));
    await screen.findByText('You are signed out');
    await waitFor(() => expect(queryClient.getQueryCache().getAll()).toEqual([]));
    expect(api.state.sessions).toEqual([]);
  });
});
