// All role assignments: on the app's own resources, and on the mail's, which may be in another group.

targetScope = 'subscription'

import { principalType as principal, roleTargets } from 'types.bicep'

@description('Object id of the app\'s identity.')
param appPrincipalId string

@description('Object id of an operator, or of a group of operators. Empty: no operator.')
param operatorPrincipalId string

param operatorPrincipalType principal

param targets roleTargets

module app 'app/roles.bicep' = {
  scope: resourceGroup(targets.appGroup)
  params: {
    appPrincipalId: appPrincipalId
    operatorPrincipalId: operatorPrincipalId
    operatorPrincipalType: operatorPrincipalType
    storageName: targets.storageName
    leaseContainer: targets.leaseContainer
    vaultName: targets.vaultName
    insightsName: targets.insightsName
  }
}

module mail 'mail/roles.bicep' = {
  scope: resourceGroup(targets.mailSubscription, targets.mailGroup)
  params: {
    appPrincipalId: appPrincipalId
    operatorPrincipalId: operatorPrincipalId
    operatorPrincipalType: operatorPrincipalType
    mailStorageName: targets.mailStorageName
    mailContainer: targets.mailContainer
    mailTables: targets.mailTables
  }
}
