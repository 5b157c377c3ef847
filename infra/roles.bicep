// All role assignments: on the app's own resources, and on the mail's, which may be in another group.

targetScope = 'subscription'

import { principalType as principal } from 'types.bicep'

@description('Object id of the app\'s identity.')
param appPrincipalId string

@description('Object id of an operator, or of a group of operators. Empty: no operator.')
param operatorPrincipalId string

param operatorPrincipalType principal

param appGroup string
param storageName string
param leaseContainer string
param vaultName string
param insightsName string
param mailSubscription string
param mailGroup string
param mailStorageName string
param mailContainer string
param mailTables string[]

module app 'app/roles.bicep' = {
  scope: resourceGroup(appGroup)
  params: {
    appPrincipalId: appPrincipalId
    operatorPrincipalId: operatorPrincipalId
    operatorPrincipalType: operatorPrincipalType
    storageName: storageName
    leaseContainer: leaseContainer
    vaultName: vaultName
    insightsName: insightsName
  }
}

module mail 'mail/roles.bicep' = {
  scope: resourceGroup(mailSubscription, mailGroup)
  params: {
    appPrincipalId: appPrincipalId
    operatorPrincipalId: operatorPrincipalId
    operatorPrincipalType: operatorPrincipalType
    mailStorageName: mailStorageName
    mailContainer: mailContainer
    mailTables: mailTables
  }
}
