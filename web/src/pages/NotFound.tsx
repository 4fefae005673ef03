import { navigate } from '../lib/router';
import { Logo } from '../ui/Logo';

export function NotFound() {
  return (
    <div className="page">
      <header className="page-header">
        <Logo />
      </header>
      <main className="centered">
        <h1>Nothing here</h1>
        <p className="lead">This address is not a meeting. Check the link, or start a meeting of your own.</p>
        <button
          type="button"
          className="button button-primary"
          onClick={() => navigate('/')}
          data-testid="go-home"
        >
          Go to the start page
        </button>
      </main>
    </div>
  );
}
