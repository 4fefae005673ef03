import { Modal } from '../ui/Modal';

interface Props {
  onLeave: () => void;
  onClose: () => void;
}

/** Asked after the shortcut only: a key is pressed by accident more easily than a button. */
export function LeaveDialog({ onLeave, onClose }: Props) {
  return (
    <Modal title="Leave the meeting?" testId="leave-dialog" onClose={onClose}>
      <p className="muted">The others can go on without you.</p>
      <div className="button-row button-row-end">
        <button type="button" className="button" onClick={onClose}>
          Stay
        </button>
        <button
          type="button"
          className="button button-danger"
          data-testid="leave-confirm"
          // Pressing L and then Enter leaves.
          data-autofocus
          onClick={onLeave}
        >
          Leave
        </button>
      </div>
    </Modal>
  );
}
