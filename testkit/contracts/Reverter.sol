// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// Announces a transfer and then fails: nothing of such a transaction may ever count.
contract Reverter {
    event Transfer(address indexed from, address indexed to, uint256 value);

    receive() external payable {
        revert("no money here");
    }

    function transfer(address to, uint256 value) external returns (bool) {
        emit Transfer(msg.sender, to, value);
        revert("never");
    }
}
