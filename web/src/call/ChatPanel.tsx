import { useEffect, useRef, useState } from 'react';
import { formatChatMessageLinks, type ReceivedChatMessage } from '@livekit/components-react';
import { groupMessages } from '../lib/chat';
import { Icon } from '../ui/Icon';
import { useNotify } from '../ui/toasts';
import { SidePanel } from './SidePanel';
import { displayName } from './tiles';

interface Props {
  chat: {
    chatMessages: ReceivedChatMessage[];
    isSending: boolean;
    send: (text: string) => Promise<unknown>;
  };
  onClose: () => void;
}

const MAX_MESSAGE_LENGTH = 4000;

export function ChatPanel({ chat, onClose }: Props) {
  return (
    <SidePanel title="Chat" testId="chat-panel" onClose={onClose}>
      <Messages messages={chat.chatMessages} />
      <Composer isSending={chat.isSending} onSend={chat.send} />
    </SidePanel>
  );
}

function Messages({ messages }: { messages: ReceivedChatMessage[] }) {
  const list = useRef<HTMLDivElement>(null);
  const wasAtEnd = useRef(true);

  useEffect(() => {
    const element = list.current;
    if (element !== null && wasAtEnd.current) element.scrollTop = element.scrollHeight;
  }, [messages.length]);

  const groups = groupMessages(
    messages.map((message) => ({
      id: message.id,
      author: message.from?.identity ?? '',
      at: message.timestamp,
      message,
    })),
  );
  return (
    <div
      ref={list}
      className="messages"
      role="log"
      aria-live="polite"
      aria-label="Messages"
      onScroll={({ currentTarget: { scrollTop, clientHeight, scrollHeight } }) => {
        wasAtEnd.current = scrollTop + clientHeight > scrollHeight - 40;
      }}
    >
      {groups.length === 0 && (
        <p className="messages-empty">
          Nothing said yet.
          <br />
          Messages go to everybody here and are gone after the meeting.
        </p>
      )}
      {groups.map((group) => {
        const from = group.items[0]?.message.from;
        const isMine = from?.isLocal === true;
        const author = isMine ? 'You' : from === undefined ? 'Somebody' : displayName(from);
        return (
          <div key={group.key} className={isMine ? 'message-group is-mine' : 'message-group'}>
            <p className="message-author">{`${author}, ${clock(group.at)}`}</p>
            {group.items.map(({ id, message }) => (
              <p key={id} className="message" data-testid="chat-message">
                {formatChatMessageLinks(message.message)}
              </p>
            ))}
          </div>
        );
      })}
    </div>
  );
}

function Composer({ isSending, onSend }: { isSending: boolean; onSend: (text: string) => Promise<unknown> }) {
  const [text, setText] = useState('');
  const notify = useNotify();
  const field = useRef<HTMLTextAreaElement>(null);

  useEffect(() => field.current?.focus(), []);

  const send = async (): Promise<void> => {
    const message = text.trim();
    if (message === '' || isSending) return;
    setText('');
    try {
      await onSend(message);
    } catch {
      setText((typedSince) => (typedSince === '' ? message : typedSince));
      notify('Your message could not be sent. Try again.', 'alarm');
    }
  };

  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      <textarea
        ref={field}
        className="input"
        rows={1}
        value={text}
        maxLength={MAX_MESSAGE_LENGTH}
        placeholder="Write to everybody"
        aria-label="Message"
        enterKeyHint="send"
        data-testid="chat-input"
        onChange={(event) => setText(event.target.value)}
        onKeyDown={(event) => {
          if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing) return;
          event.preventDefault();
          void send();
        }}
      />
      <button
        type="submit"
        className="icon-button send-button"
        aria-label="Send"
        data-testid="chat-send"
        disabled={text.trim() === '' || isSending}
      >
        <Icon name="send" size={20} />
      </button>
    </form>
  );
}

function clock(time: number): string {
  return new Date(time).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
}
