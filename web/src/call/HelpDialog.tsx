import { SHORTCUTS } from '../lib/shortcuts';
import { Modal } from '../ui/Modal';

export function HelpDialog({ onClose }: { onClose: () => void }) {
  return (
    <Modal title="Keyboard shortcuts" testId="help-dialog" onClose={onClose}>
      <dl className="shortcuts">
        {SHORTCUTS.map(({ label, action, does }) => (
          <div key={action}>
            <dt>
              <kbd>{label}</kbd>
            </dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
    </Modal>
  );
}
