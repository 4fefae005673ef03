import { useId, useState } from 'react';
import type { ServerConfig } from '../lib/api';
import { destinationOf, inviteLink, roomPath } from '../lib/link';
import { newRoomId } from '../lib/roomId';
import { navigate } from '../lib/router';
import { CopyButton } from '../ui/CopyButton';
import { Icon } from '../ui/Icon';
import { Logo } from '../ui/Logo';

export function Home({ config }: { config: ServerConfig | null }) {
  const byInvitation = config?.dev === false;
  return (
    <div className="page home">
      <header className="page-header">
        <Logo />
        {config?.dev === true && (
          <span className="tag" title="This server lets everybody in. It is meant for trying things out.">
            Development server
          </span>
        )}
      </header>
      <main className="home-main">
        <section className="home-pitch">
          <h1>
            Meet face to face,
            <br />
            wherever you are.
          </h1>
          <p className="lead">
            {byInvitation ? 'Open your link and talk.' : 'Open a room, send the link, talk.'} No account,
            nothing to install.
          </p>
        </section>
        <section className="card home-card" aria-label="Start or join">
          {byInvitation ? <ByInvitation /> : <NewMeeting />}
          <hr />
          <JoinForm byInvitation={byInvitation} />
        </section>
      </main>
      <footer className="page-footer">
        <span>pysfu{config !== null && config.version !== '' && ` ${config.version}`}</span>
        <span>Open source, Apache-2.0</span>
      </footer>
    </div>
  );
}

function NewMeeting() {
  const [room] = useState(() => newRoomId());
  const link = inviteLink(location.origin, room);
  return (
    <div className="stack">
      <button
        type="button"
        className="button button-primary button-large"
        data-testid="new-meeting"
        onClick={() => navigate(roomPath(room))}
      >
        <Icon name="plus" size={20} />
        Start a new meeting
      </button>
      <div className="invite-row">
        <code data-testid="invite-link" title={link}>
          {link.replace(/^https?:\/\//, '')}
        </code>
        <CopyButton
          text={link}
          label="Copy link"
          testId="copy-invite"
          className="button button-quiet button-small"
        />
      </div>
    </div>
  );
}

function ByInvitation() {
  return (
    <div className="stack" data-testid="by-invitation">
      <h2>Have an invitation?</h2>
      <p className="muted">
        Meetings on this server are by invitation. Open the link that you were sent, or paste it below.
      </p>
    </div>
  );
}

function JoinForm({ byInvitation }: { byInvitation: boolean }) {
  const [typed, setTyped] = useState('');
  const [isRefused, setRefused] = useState(false);
  const id = useId();
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault();
        const destination = destinationOf(typed, location.origin);
        if (destination === null) setRefused(true);
        else navigate(destination);
      }}
    >
      <label htmlFor={id}>{byInvitation ? 'Your invitation link' : 'Join with a room name or a link'}</label>
      <div className="field-row">
        <input
          id={id}
          className="input"
          value={typed}
          placeholder={byInvitation ? `${location.origin}/r/…` : 'team-breakfast'}
          autoComplete="off"
          autoCapitalize="none"
          spellCheck={false}
          data-testid="room-name"
          aria-invalid={isRefused}
          aria-describedby={isRefused ? `${id}-error` : undefined}
          onChange={(event) => {
            setTyped(event.target.value);
            setRefused(false);
          }}
        />
        <button type="submit" className="button" data-testid="go-room" disabled={typed.trim() === ''}>
          Join
          <Icon name="arrow" size={18} />
        </button>
      </div>
      {isRefused && (
        <p className="field-error" id={`${id}-error`} role="alert">
          That is not a room of this server. Use letters, digits and dashes, or a link that starts with{' '}
          {location.origin}.
        </p>
      )}
    </form>
  );
}
