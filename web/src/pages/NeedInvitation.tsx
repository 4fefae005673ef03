import { NO_TOKENS } from '../lib/problems';
import { navigate } from '../lib/router';
import { Logo } from '../ui/Logo';

/** Told before anybody is asked for a camera: without a token this server lets nobody in. */
export function NeedInvitation() {
  return (
    <div className="page">
      <header className="page-header">
        <Logo />
      </header>
      <main className="centered" data-testid="problem" data-code={NO_TOKENS.code}>
        <h1>{NO_TOKENS.title}</h1>
        <p className="lead">{NO_TOKENS.advice}</p>
        <button
          type="button"
          className="button button-primary"
          onClick={() => navigate('/')}
          data-testid="go-home"
        >
          Paste a link
        </button>
      </main>
    </div>
  );
}
