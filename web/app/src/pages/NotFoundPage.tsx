import { ButtonLink } from '@/components/ButtonLink';
import { Page } from '@/components/Page';

export function NotFoundPage() {
  return (
    <Page
      title="There is nothing here"
      lead="The address is wrong, or it names something that your account may not see. Both look the same on purpose."
    >
      <div>
        <ButtonLink to="/" variant="primary">
          To your clusters
        </ButtonLink>
      </div>
    </Page>
  );
}
