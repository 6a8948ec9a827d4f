import type { ReactNode } from 'react';
import { Link } from 'react-router';
import { buttonClass, type ButtonVariant } from '@/ui/Button';

export function ButtonLink({
  to,
  variant = 'secondary',
  children,
}: {
  to: string;
  variant?: ButtonVariant;
  children: ReactNode;
}) {
  return (
    <Link to={to} className={buttonClass(variant)}>
      {children}
    </Link>
  );
}
