"""Links between nodes, measured over real sockets: what a packet costs, what a hop adds, what losses leave."""
