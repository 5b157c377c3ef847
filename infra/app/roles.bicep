// Role assignments on the app's own resources, each with its reason. mail/roles.bicep has those on the mail.

import { principalType as principal } from '../types.bicep'

@description('Object id of the app\'s identity.')
param appPrincipalId string

@description('Object id of an operator, or of a group of operators. Empty: no operator.')
param operatorPrincipalId string

param operatorPrincipalType principal

@description('The app\'s own storage account.')
param storageName string
param leaseContainer string
param vaultName string
param insightsName string

var blobOwner = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
)
var blobContributor = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
)
var queueContributor = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
)
var tableContributor = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
)
var secretsUser = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  '4633458b-17de-408a-b874-0445c86b69e6'
)
var secretsOfficer = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  'b86a8fe4-44ce-4948-aee5-eccb2c155cd7'
)
var metricsPublisher = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  '3913510d-42f4-4e42-8a64-420c390055eb'
)

var operator = !empty(operatorPrincipalId)

resource storage 'Microsoft.Storage/storageAccounts@2026-06-01' existing = {
  name: storageName
}

resource storageBlobs 'Microsoft.Storage/storageAccounts/blobServices@2026-06-01' existing = {
  parent: storage
  name: 'default'
}

resource leases 'Microsoft.Storage/storageAccounts/blobServices/containers@2026-06-01' existing = {
  parent: storageBlobs
  name: leaseContainer
}

resource vault 'Microsoft.KeyVault/vaults@2026-05-15' existing = {
  name: vaultName
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

// For the host: locks of timers, keys and the package. It creates containers when it needs them, so that the role covers
// the whole account. Apart from these, the account has only the leases.
resource appOwnBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(storage.id, appPrincipalId, blobOwner)
  scope: storage
  properties: {
    roleDefinitionId: blobOwner
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// For the functions' queues: the host receives and deletes messages and creates poison queues. The app sends messages and
// reads the queues' lengths.
resource appQueues 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(storage.id, appPrincipalId, queueContributor)
  scope: storage
  properties: {
    roleDefinitionId: queueContributor
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// For the host's diagnostic events: if an app does not start, a table in its own account has the reason.
resource appOwnTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(storage.id, appPrincipalId, tableContributor)
  scope: storage
  properties: {
    roleDefinitionId: tableContributor
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// For references in the app settings. The role reads secrets; it neither lists nor writes them.
resource appSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, appPrincipalId, secretsUser)
  scope: vault
  properties: {
    roleDefinitionId: secretsUser
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// For telemetry with tokens, since keys are off.
resource appTelemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(insights.id, appPrincipalId, metricsPublisher)
  scope: insights
  properties: {
    roleDefinitionId: metricsPublisher
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// For operators: they write and change the mailboxes' secrets.
resource operatorSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operator) {
  name: guid(vault.id, operatorPrincipalId, secretsOfficer)
  scope: vault
  properties: {
    roleDefinitionId: secretsOfficer
    principalId: operatorPrincipalId
    principalType: operatorPrincipalType
  }
}

// For mailroom replay, which sends route requests, and mailroom status, which reads the queues' lengths.
resource operatorQueues 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operator) {
  name: guid(storage.id, operatorPrincipalId, queueContributor)
  scope: storage
  properties: {
    roleDefinitionId: queueContributor
    principalId: operatorPrincipalId
    principalType: operatorPrincipalType
  }
}

// For mailroom forget and run-once, which send metrics, so that the workbook counts what they change.
resource operatorTelemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operator) {
  name: guid(insights.id, operatorPrincipalId, metricsPublisher)
  scope: insights
  properties: {
    roleDefinitionId: metricsPublisher
    principalId: operatorPrincipalId
    principalType: operatorPrincipalType
  }
}

// For mailroom run-once, which holds a mailbox's lease so that the app does not drain the same mailbox.
resource operatorLeases 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operator) {
  name: guid(leases.id, operatorPrincipalId, blobContributor)
  scope: leases
  properties: {
    roleDefinitionId: blobContributor
    principalId: operatorPrincipalId
    principalType: operatorPrincipalType
  }
}
