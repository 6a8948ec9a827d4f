import { useQuery } from '@tanstack/react-query';
import { useParams } from 'react-router';
import { meQuery } from '@/api/queries';
import type { Me, Organisation } from '@/api/types';

/** Who is signed in. Only below `SignedIn`, which has loaded it. */
export function useMe(): Me {
  const { data } = useQuery(meQuery);
  if (!data) throw new Error('useMe is for pages below SignedIn');
  return data;
}

/** The organisation that the address names, or `null` when the person does not belong to such a one. */
export function useOrganisation(): Organisation | null {
  const { org } = useParams();
  return useMe().organisations.find(({ id }) => id === org) ?? null;
}
