import { useNow } from '@/hooks/useNow';
import { isoSeconds, relativeTime } from './time';
import styles from './Timestamp.module.css';

/** A point in time, exactly and as people say it. */
export function Timestamp({ time }: { time: string }) {
  const now = useNow();
  return (
    <span className={styles.timestamp}>
      <time dateTime={time} className={styles.exact}>
        {isoSeconds(time)}
      </time>{' '}
      <span className={styles.relative}>{relativeTime(time, now)}</span>
    </span>
  );
}
