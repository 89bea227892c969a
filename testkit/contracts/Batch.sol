// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// Sends many transfers in one transaction: tokens that this contract holds, and the native money it is given.
contract Batch {
    receive() external payable {}

    function send(
        address token,
        address[] calldata tokenTo,
        uint256[] calldata tokenValues,
        address[] calldata nativeTo,
        uint256[] calldata nativeValues
    ) external payable {
        for (uint256 i = 0; i < tokenTo.length; i++) {
            // A low-level call: some tokens return nothing.
            (bool sent, ) = token.call(
                abi.encodeWithSignature("transfer(address,uint256)", tokenTo[i], tokenValues[i])
            );
            require(sent, "token");
        }
        for (uint256 i = 0; i < nativeTo.length; i++) {
            (bool sent, ) = nativeTo[i].call{value: nativeValues[i]}("");
            require(sent, "native");
        }
    }
}
