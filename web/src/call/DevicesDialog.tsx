import { Modal } from '../ui/Modal';
import { CameraMenu, MicMenu } from './DeviceMenus';

export function DevicesDialog({ onClose }: { onClose: () => void }) {
  return (
    <Modal title="Devices" testId="devices-dialog" onClose={onClose}>
      <CameraMenu />
      <MicMenu />
    </Modal>
  );
}
