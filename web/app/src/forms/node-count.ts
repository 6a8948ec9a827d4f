/** How many nodes a cluster may have, and what each number means to the people who choose. */
export const NODE_COUNT_OPTIONS = [
  { value: '1', label: '1 node: for trying things out' },
  { value: '3', label: '3 nodes: goes on when one is lost' },
  { value: '5', label: '5 nodes: goes on when two are lost' },
] as const;

export const NODE_COUNT_HINT = 'Placed as far apart as possible. It can be changed later.';
