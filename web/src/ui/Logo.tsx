import { navigate } from '../lib/router';

/** One in, many out: what a forwarding unit does. */
export function Logo() {
  return (
    <a
      className="logo"
      href="/"
      aria-label="pysfu, home"
      onClick={(event) => {
        if (event.metaKey || event.ctrlKey || event.shiftKey) return;
        event.preventDefault();
        navigate('/');
      }}
    >
      <svg viewBox="0 0 32 32" width="30" height="30" aria-hidden="true">
        <g fill="none" stroke="currentColor" strokeWidth="2.6" strokeLinecap="round">
          <path d="M13 16h12" />
          <path d="M11.5 12.5C14 8 17.5 6.5 24 6.5" />
          <path d="M11.5 19.5C14 24 17.5 25.5 24 25.5" />
        </g>
        <circle cx="8.5" cy="16" r="4" fill="currentColor" />
      </svg>
      <span>pysfu</span>
    </a>
  );
}
