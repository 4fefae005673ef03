/** Sends livekit-client's WebSockets to a gateway that works. It knows one URL, and opens all connections by the global name. */

import type { Gateways } from './gateways';

/** From now on, for `scope`'s WebSocket. */
export function followGateways(
  gateways: Gateways,
  scope: { WebSocket: typeof WebSocket } = globalThis,
): void {
  scope.WebSocket = class extends scope.WebSocket {
    private byUs = false;

    constructor(url: string | URL, protocols?: string | string[]) {
      const routed = gateways.route(String(url));
      super(routed, protocols);
      let wasOpen = false;
      let heard = performance.now();
      this.addEventListener('open', () => {
        wasOpen = true;
        heard = performance.now();
        gateways.opened(routed);
      });
      this.addEventListener('message', () => {
        heard = performance.now();
      });
      this.addEventListener('close', ({ code }) => {
        gateways.closed(routed, { wasOpen, byUs: this.byUs, code, silentMs: performance.now() - heard });
      });
    }

    override close(code?: number, reason?: string): void {
      this.byUs = true;
      super.close(code, reason);
    }
  };
}
