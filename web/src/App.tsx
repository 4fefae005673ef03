import { useEffect, useState } from 'react';
import { fetchConfig, type ServerConfig } from './lib/api';
import { takeTokenFromAddress } from './lib/invitation';
import { routeOf } from './lib/link';
import { useAddress } from './lib/router';
import { Home } from './pages/Home';
import { MeetingPage } from './pages/MeetingPage';
import { NotFound } from './pages/NotFound';
import { ToastStack } from './ui/ToastStack';
import { ToastContext, useToasts } from './ui/toasts';

export function App() {
  const { toasts, notify, dismiss } = useToasts();
  return (
    <ToastContext value={notify}>
      <Page />
      <ToastStack toasts={toasts} onDismiss={dismiss} />
    </ToastContext>
  );
}

function Page() {
  const address = useAddress();
  const config = useServerConfig();
  const route = routeOf(location.pathname);
  const room = route.page === 'room' ? route.room : null;

  useEffect(() => {
    document.title = room === null ? 'pysfu' : `${room} · pysfu`;
  }, [room]);

  if (room !== null) takeTokenFromAddress(room);

  if (config === undefined) return null;
  switch (route.page) {
    case 'home':
      return <Home config={config} />;
    case 'room':
      return <MeetingPage key={route.room} room={route.room} config={config} />;
    case 'unknown':
      return <NotFound key={address} />;
  }
}

/** Undefined until the server has said what it is, null when it cannot be asked: that shows when one tries to join. */
function useServerConfig(): ServerConfig | null | undefined {
  const [config, setConfig] = useState<ServerConfig | null>();
  useEffect(() => {
    fetchConfig().then(setConfig, () => setConfig(null));
  }, []);
  return config;
}
